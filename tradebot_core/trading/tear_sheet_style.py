"""How a tear sheet looks, on a screen and on two sheets of A4."""

STYLE = """
@page { size: A4; margin: 11mm }
* { box-sizing: border-box }
body { font: 11.5px/1.38 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; color: #222; background: #fff;
  max-width: 1080px; margin: 18px auto; padding: 0 18px; -webkit-print-color-adjust: exact; print-color-adjust: exact }
h1 { font-size: 19px; font-weight: 600; margin: 0 }
h2 { font-size: 11px; font-weight: 600; margin: 0 0 3px; color: #1f4e79; text-transform: uppercase; letter-spacing: .05em }
p { margin: 2px 0 }
header { border-bottom: 1.5px solid #1f4e79; padding-bottom: 5px; margin-bottom: 9px }
header p, .note, footer { color: #666 }
.note, footer { font-size: 10px }
section { margin: 0 0 12px; break-inside: avoid }
.doubts { background: #fbf6ea; border-left: 3px solid #c9a13b; padding: 6px 10px }
.doubts ul { margin: 0; padding-left: 15px }
.top { display: grid; grid-template-columns: 268px 1fr; gap: 18px; align-items: start }
.top svg { width: 100%; height: auto; display: block } .top svg text { font-family: Helvetica, Arial, sans-serif !important }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 22px }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 1.5px 5px; white-space: nowrap; font-weight: 400 }
th { color: #666; font-size: 10.5px; border-bottom: 1px solid #bbb; vertical-align: bottom }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
td { border-bottom: 1px solid #eee }
.figures td { padding: 1.2px 0 }
.figures tr.gap td { border-bottom: 1px solid #bbb }
tr.sum td { border-top: 1px solid #999; font-weight: 600 }
.months td { text-align: center; padding: 1.5px 2px; border-bottom: 1px solid #fff }
.months th { text-align: center } .months td:first-child, .months th:first-child { text-align: left }
.wide td, .wide th { padding-left: 3px; padding-right: 3px } .wide td:first-child, .wide th:first-child { padding-left: 0 }
footer { border-top: 1px solid #bbb; padding-top: 4px }
@media screen and (max-width: 760px) { .top, .pair { grid-template-columns: 1fr } }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 9.4px } .top { grid-template-columns: 208px 1fr }
  th { font-size: 8.8px } h2 { font-size: 9.5px } .note, footer { font-size: 8.5px } }
"""
