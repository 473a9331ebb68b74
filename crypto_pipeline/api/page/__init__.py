"""The live page: its files, and the routes that it needs beside those that programs use."""
