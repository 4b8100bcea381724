/* Positions that are computed one after the other, and pooled together with those of the same run. */
struct strip {
  long in, out, length; /* where they begin, from the first position */
  int first, last;      /* taps: on rows beyond the value the others would find zeros */
};
struct run {
  int strips, rows; /* rows once they are pooled */
  long out;
};
#if MANY_REGISTERS
#define BY_REGISTERS(many, few) (many)
#define REST(function, positions) function, positions
#else
#define BY_REGISTERS(many, few) (few)
#define REST(function, positions) .rest = NULL, .few = 0
#endif
