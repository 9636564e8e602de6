"""The networks and their heads, by name."""
FORMS = ("convlstm-local", "lstm-local", "cnn-local", "conv3d_lstm-local",
         "convlstm-dense", "convlstm-conv", "lstm-dense", "cnn-dense", "conv3d_lstm-dense")
HEAVY = ("lstm-dense", "conv3d_lstm-dense")  # 194 and 105 million weights on the twin's map: the quick form leaves them out
