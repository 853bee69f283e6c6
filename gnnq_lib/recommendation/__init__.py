"""Recommendation: LightGCN in full precision, GNAQ and other low-bit tables on it, ranking metrics."""
