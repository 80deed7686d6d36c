"""Runs untrusted code: sandbox, clock, caps, and the log it leaves. Standard library only."""
