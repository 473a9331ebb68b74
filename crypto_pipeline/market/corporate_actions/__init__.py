"""Corporate actions of stocks: splits, dividends and renames, and how bars are adjusted for them. Pure.

Bars are stored as they were traded. ``actions`` says what an action is and when it was known, ``factors`` what bars
before it are multiplied by, ``adjustment`` applies that to a frame of bars, ``tickers`` says which ticker an
instrument had when.
"""
