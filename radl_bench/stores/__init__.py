"""Runs in an object store, each with a working copy on this machine."""
