"""fastnn measured against its peers: `python -m bench --help`. The wheel carries it as `fastnn._bench`."""
