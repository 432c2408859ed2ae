"""The loop: strategies ask, evaluators judge, the study remembers, finalists are measured again."""
