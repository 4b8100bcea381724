"""Which filters go: from ratios, budgets, index lists, step by step."""
