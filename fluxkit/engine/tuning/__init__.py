"""Optimiser steps on the budget's clock."""
