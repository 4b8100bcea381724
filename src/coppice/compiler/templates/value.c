/* Numbers lie channel after channel, row after row, frame after frame; zeros may stand around them. */
struct value {
  int channels, rows, frames;
  long first;   /* position of a channel's first number */
  long row;     /* from one row to the next */
  long channel; /* from one channel to the next */
};
