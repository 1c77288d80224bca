"""`python -m sqlqueue`: the same as the console script."""

from sqlqueue.entry import main

if __name__ == "__main__":
    main()
