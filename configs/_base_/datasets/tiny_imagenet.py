# Tiny-ImageNet (200 classes, 64 px), packed as one sheet per class; all photos are held in memory, so no data worker has to fetch any.
data_root = '{{$MMLSKA_DATA:data}}/tiny_imagenet/'
data_help = (
    'a folder with classes.json and train/ and val/ with one sheet of photos per class; for an ordinary folder of photos per class '
    'see docs/pretraining.md'
)
dataset = dict(type='TinyImageNet', data_root=data_root, ann_file='classes.json')
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    drop_last=True,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, data_prefix=dict(img='train')),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, data_prefix=dict(img='val')),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='TopK', topk=(1, 5))
test_evaluator = val_evaluator
