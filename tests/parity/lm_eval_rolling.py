"""Child process: lm-evaluation-harness's own rolling log-likelihood of some texts.

    python lm_eval_rolling.py MODEL_FOLDER MAX_LENGTH < texts.json > nlls.json

Runs with the harness's packages on PYTHONPATH and shares no code with Winnow.
"""

import json
import sys

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

folder, max_length = sys.argv[1], int(sys.argv[2])
texts = json.load(sys.stdin)
model = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=1, max_length=max_length)
requests = [
    Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=index)
    for index, text in enumerate(texts)
]
values = model.loglikelihood_rolling(requests, disable_tqdm=True)
sys.stdout.write("\n" + json.dumps([-float(value) for value in values]) + "\n")
