/* Bytes lie as numbers do. */
#define BYTE(x, v, c, y, f) (x)[(c) * (v)->channel + (v)->first + (y) * (v)->row + (f)]
typedef uint8_t cell;
