"""Runs on other machines: handed to workers over Celery with redis, and told lost where their worker is gone.

Only programs that do this import Celery; it is in the extra ``celery``.
"""
