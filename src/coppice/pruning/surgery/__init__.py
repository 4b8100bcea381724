"""Filters leave a network, and the network is proved equal to the masked one."""
