"""Files of strangers, described and never run: what torch.save and safetensors wrote."""
