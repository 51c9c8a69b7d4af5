"""Anyone's runs as points of a law: tables, exports, learning curves."""
