/* Bytes of four channels lie side by side, in cells; a value has as many cells as it needs for its channels. */
#define BYTE(x, v, c, y, f) ((uint8_t *)((x) + (c) / 4 * (v)->channel + (v)->first + (y) * (v)->row + (f)))[(c) % 4]
typedef uint32_t cell;
