static void pool_whole(const struct pooling *p, const struct value *u, cell *in, const struct value *v, cell *out,
                       uint8_t *line) {
  for (int c = 0; c < v->channels; c++)
    pool_bytes(p, (uint8_t *)(in + c * u->channel + u->first), u->row, v->rows, v->frames,
               (uint8_t *)(out + c * v->channel + v->first), v->row, line);
}
