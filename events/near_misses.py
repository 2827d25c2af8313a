"""Firings that nobody listened to, next to waits that look like what they meant."""
