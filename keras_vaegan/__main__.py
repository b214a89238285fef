"""`python -m keras_vaegan` is the command line."""

from keras_vaegan.cli import main

if __name__ == "__main__":
    main()
