"""The history of schema ``ocr``."""
