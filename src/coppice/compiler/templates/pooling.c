struct pooling {
  int largest; /* or the mean */
  int high, wide, down, across, top, left, count_all;
  int rows, frames; /* of what is pooled */
};
