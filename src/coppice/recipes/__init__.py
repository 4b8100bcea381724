"""A whole run described in YAML, and the stages that carry it out."""
