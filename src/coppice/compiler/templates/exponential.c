/* The exponential of a number up to 0, within 2e-7 of itself: by 2^whole * e^rest. */
static float exponential(float x) {
  if (x < -87.0f)
    return 0.0f;
  const float whole = (float)(int)(x * 1.44269504f - 0.5f);
  const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  for (int i = 0; i > (int)whole; i--)
    p *= 0.5f;
  return p;
}
