static void activate(float *x, long numbers, const struct activation *to) {
  long i = 0;
  for (; i + LANES <= numbers; i += LANES)
    STORE(x + i, activated(LOAD(x + i), to));
  if (i < numbers) {
    const int left = (int)(numbers - i);
    float rest[LANES] = {0.0f};
    for (int k = 0; k < LANES && k < left; k++)
      rest[k] = x[i + k];
    STORE(rest, activated(LOAD(rest), to));
    for (int k = 0; k < LANES && k < left; k++)
      x[i + k] = rest[k];
  }
}
