"""The families of models that have goldens, one module each. A module exports

CASES            {case name: dict(container="gguf" | "hf" | "mlx", kind, seed, config, optionally shards, ...)};
                 a config has at least arch, n_layers, rows (of the embedding) and n_experts (0: none)
random_weights   (config, seed) -> {name: float64 array}; "tok_embd", "0.wq", stacked experts [expert, out, in]
write_gguf       (case, config, weights) -> writers.Written, whose files are {"model.gguf": bytes}
write_directory  (case, config, weights) -> writers.Written, whose files are those of the folder "model"
Reference        (config, values, formats, dtype=torch.float64, **written.extra), as in reference.Base

and where it needs them

VOCABULARY       what has N_TOKENS and TEXT_IDS (first, end); otherwise the module golden.vocab
add_checks       (case, reference, roughs, golden, case_dir): adds to what becomes golden.json, and files beside it;
                 roughs are the reference in float32 and those with noise
NOISE            relative noise of every product: prompts on whose int8 logits it shows are drawn again; for
                 families where a rounding that lies on an edge spoils more than its own token
N_NOISY, N_STEADY   how many references with noise are asked for that, and how many others have to decode the same int8
                 text; otherwise a few and none
Reference.edge   (i, h) -> how near an activation of layer i that goes into keys, values or a state comes to the edge
                 between two codes, in codes: a cheaper condition, for the layers by themselves only
EXTRAS           {name: function(out_dir)} for files that belong to no case
self_check       (): raises where one of the family's features does not matter or two forms disagree
"""
import importlib
import pkgutil


def modules():
    """{family name: module}"""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
