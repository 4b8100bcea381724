"""Full-integer LiteRT models: weights and everything that flows between the layers in int8."""

from collections.abc import Iterable

import flatbuffers
import numpy as np
from jaxtyping import Float32

from coppice.core.errors import CoppiceError
from coppice.export.litert.builder import SIGNATURE
from coppice.export.litert.lower import NETWORK
from coppice.export.runtimes import first_line, silenced
from coppice.export.traced import quiet


def int8_model(content: bytes, clips: Iterable[Float32[np.ndarray, "1 *shape"]], *, input_name: str) -> bytes:
    """Quantize a float32 LiteRT model after training, by ``ai-edge-quantizer``.

    Weights get one scale per filter, symmetric; what flows between the layers one scale and zero point per tensor,
    from the least and largest values that the clips bring about; biases are int32 (the int8 specification of LiteRT).
    Input and outputs stay float32: the network's first operator quantizes, its last one dequantizes the logits. A front
    end inside and the softmax stay float32 as well.

    Parameters
    ----------
    content : bytes
        The model, as :class:`coppice.export.litert.builder.Builder` writes it.
    clips : iterable of ndarray
        What the model takes; training clips.
    input_name : str
        Of its input.

    Raises
    ------
    CoppiceError
        If the quantizer is not installed, or refuses.
    """
    try:
        from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils
    except ImportError as error:
        raise CoppiceError(
            "int8 for LiteRT is not installed; install it with: pip install 'coppice[litert]'."
        ) from error
    try:
        with quiet(), silenced():
            recipe = recipe_manager.RecipeManager()
            recipe.add_static_config(
                regex=f"^{NETWORK}",
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                activation_num_bits=8,
                weight_num_bits=8,
            )
            # It would give the number that pads as many scales as there are channels.
            recipe.add_quantization_config(
                ".*", qtyping.TFLOperationName.PADV2, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
            )
            # By itself it would take moving averages, in which the first clips count most and loud ones are cut off.
            seen = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            seen.calibrate({SIGNATURE: [{input_name: clip} for clip in clips]}, recipe)
            worker = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe())
            made = worker.quantize(seen.get_model_qsvs(), enable_progress_report=False).quantized_model
    except Exception as error:  # its exceptions have no common class of their own
        raise CoppiceError(f"the network cannot become int8: {first_line(error)}.") from error
    return _plain(bytearray(made))


def _plain(content: bytearray) -> bytes:
    """Put all numbers inside the flatbuffer, and name operators in the field that older readers read, too."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    packer = flatbuffers.Builder(len(content))
    packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
    return bytes(packer.Output())
