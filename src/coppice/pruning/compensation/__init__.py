"""What cut filters did is folded into the layers behind them, in closed form."""
