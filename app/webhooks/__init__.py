"""Webhooks: addresses of clients that are told what happens (standardwebhooks.com)."""
