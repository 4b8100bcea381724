enum { CLIP, TANH, SIGMOID, HARD_SWISH, HARD_SIGMOID };

struct activation {
  int kind;
  float low, high; /* of CLIP */
};
