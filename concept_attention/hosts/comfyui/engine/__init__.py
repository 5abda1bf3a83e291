"""One sampling run in ComfyUI: from a guider's call to the recording.

Data flow: `run.record` wraps the guider's call and installs the wrappers of a `RecordingSession`. The session finds the
positive prompt in each evaluation of the model and opens a `ConceptStream` for that forward pass. The stream carries
the concept tokens through the joint blocks and delivers both attention outputs, which the session's collector scores.
A `ScoreAccumulator` averages the scores of all prompts and context windows. After each sampler step the session adds
them to a `RecordingBuilder`, from which `run.record` builds the recording.
"""
