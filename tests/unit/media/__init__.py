"""Tests of worker/prepare/media/, without servers."""
