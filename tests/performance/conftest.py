"""Only `pytest -m performance` collects what is here: a time measured beside other tests says nothing."""


def pytest_ignore_collect(collection_path, config):
    return True if "performance" not in config.option.markexpr else None
