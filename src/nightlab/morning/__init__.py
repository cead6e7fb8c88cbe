"""The morning: what happened in the night, what needs a person, what is believed now, what it cost."""
