"""Hearing sound while it arrives: from a microphone, or from a file that is played through."""
