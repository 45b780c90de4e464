"""The embedded data set: small scenes of coloured shapes, written in the published formats.

`generate(dials, out)` writes into `out`; an image's number (100000, 100001, ... in the order train, val, test) is its id
in every file, and its file name without the ending.

| file | what |
|---|---|
| `images/100000.jpg` | pictures of `image_size` x `image_size` |
| `dataset_shapes.json` | Karpathy: images [{filename, imgid, cocoid, split, sentids, sentences [{raw, tokens, imgid, sentid}]}] |
| `annotations/captions_{split}.json` | COCO captions: images [{id, file_name, width, height}], annotations [{id, image_id, caption}] |
| `annotations/instances_{split}.json` | COCO instances: annotations [{id, image_id, category_id, bbox x y w h, area (of the box), iscrowd, attributes}], categories [{id, name}]; no segmentations; `attributes` (size, texture, colour) is ours; ids are unique over the splits |
| `v2_OpenEnded_questions_{split}.json`, `v2_annotations_{split}.json` | VQA v2; question_id = 1000 x image number + n |
| `snli_ve_{split}.jsonl` | SNLI-VE: pairID, Flickr30K_ID, captionID, sentence1 (a caption), sentence2, gold_label, annotator_labels |
| `Sentences/100000.txt`, `Annotations/100000.xml` | Flickr30k Entities: phrase types `other` (objects), `scene` (the background), `notvisual` (a picture, id 0); xmin, ymin, xmax, ymax count pixels from 1 and the last one is inside: x1 + 1, y1 + 1, x2, y2 |
| `refs.json` | RefCOCO's refs: [{ref_id, ann_id, image_id, category_id, file_name, split, sent_ids, sentences [{sent_id, sent, raw, tokens}]}]; ann_id is the id in the instances |
| `truth.jsonl` | one scene graph a line, see below |
| `manifest.json` | written last: dials, versions, counts, records and sha256 of each file or folder |

A line of `truth.jsonl`: image_id, split, width, height, background {tone, pattern}, objects [{size, texture, colour, shape,
box xyxy, inside (index or null), annotated (its class in the instances)}], relations [[a, relation, b]], captions
[{caption_id, text, mentions [{start, end, type, objects, words [{start, end, kind, value}], fits}], relations [{relation,
subject, object (positions in mentions), start, end}]}], questions [{question_id, template, answer}], hypotheses
[{pair_id, template, label}]. `objects`: indices of what the phrase refers to; `fits`: of all that its words fit.
Boxes: x2 and y2 are one past the last pixel.
"""  # noqa: E501

from vlp.data.shapes.write import generate

__all__ = ["generate"]
