"""Anomaly detection: which images differ from normal ones?"""
