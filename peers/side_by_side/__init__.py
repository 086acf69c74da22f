"""The same jobs done by Nightloom and by other libraries, in one run, as ratios.

In reading order: `timing` (how anything is measured), `parameters`, `onnx_file` and `network` (what is measured), one
module per library and suite (`seal_ckks`, `openfhe_ckks`, `lattigo_ckks`, `tenseal_e2dm`, `orion_latency`,
`seal_cryptonets`, `lattigo_cryptonets`, `pymife_fe`), `install` (virtual environments and builds), `others` (whether
the machine was quiet), `report` (ratios and tables), `command` (the alternation of the sides, and the command line).
"""
