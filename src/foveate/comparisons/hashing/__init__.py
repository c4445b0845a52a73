"""Two papers that learn binary codes without labels, against each other and against what was there before."""
