"""Other ways to make maps, to compare with: nothing here is installed or downloaded by itself."""
