"""MACs of a front end that is computed as layers of a network."""

from coppice.audio.front_end import FrontEnd


def front_end_macs(front_end: FrontEnd) -> int:
    """Count the MACs of a front end written as convolutions, as the PANNs networks carry theirs.

    Two convolutions with the Fourier kernels (real and imaginary, n_fft long, one filter for each bin), then one
    product with the mel filterbank: ``frames × bins × (2 × n_fft + n_mels)``. An FFT needs far fewer; this is what
    the published "21 G" of CNN14 and the "36 % fewer computations" of E-PANNs (arXiv 2305.18665) include.

    Parameters
    ----------
    front_end : FrontEnd
        Its clip length sets the frames.

    Returns
    -------
    int
        To be added to :func:`coppice.complexity.macs.count_macs`.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> front_end_macs(front_end("dcase2021", duration_s=1.0))
    211970000
    """
    bins = front_end.n_fft // 2 + 1
    return front_end.frames * bins * (2 * front_end.n_fft + front_end.n_mels)
