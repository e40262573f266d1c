"""Training sets of layouts, made from COCO: captions, boxes and a phrase for each box."""
