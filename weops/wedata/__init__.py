"""The endpoint that scripts written for WeData talk to with the official SDK. docs/wedata.md

A request comes in through `view`, is authenticated by `signature`, and `dispatch` finds its action, reads its fields, and
checks the right that the action declares. An action is a thin mapping onto the operation classes and querysets that the
admin and the REST API use; there is one module for each noun.
"""
