"""Augmentation: what is done to training clips, anew in every epoch, before the network hears them."""
