"""Handles every request around its call: access, bodies, limits, JSON, metrics and logs."""
