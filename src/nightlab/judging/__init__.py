"""Blind, audited scoring of samples by a rubric."""
