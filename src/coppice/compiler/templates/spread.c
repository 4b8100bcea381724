struct spread {
  int phases;
  long row, channel; /* of what is written: numbers of one phase of a row, and of a channel */
  int top, left;     /* zeros before */
};
