"""Files that hold arrays under names: what is damaged or was never written is refused by its name."""
