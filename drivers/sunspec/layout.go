package sunspec

// The points of the models this driver reads and writes: name, offset from
// the model's ID register, registers, type, writable, scale factor. The facts
// are those of the SunSpec information models (SunSpec Alliance model
// definitions, github.com/sunspec/models, Apache-2.0); points nothing here
// uses are left out. The length of a model is the device's to tell, never ours.

// layout gives the points of a model; none for a model not known here.
func layout(id uint16) []point {
	switch id {
	case 1:
		return model1[:]
	case 101, 102, 103:
		return model101[:]
	case 111, 112, 113:
		return model111[:]
	case 120:
		return model120[:]
	case 121:
		return model121[:]
	case 122:
		return model122[:]
	case 123:
		return model123[:]
	case 124:
		return model124[:]
	case 160:
		return model160[:]
	case 201, 202, 203, 204:
		return model201[:]
	case 211, 212, 213, 214:
		return model211[:]
	case 701:
		return model701[:]
	case 702:
		return model702[:]
	case 703:
		return model703[:]
	case 704:
		return model704[:]
	case 713:
		return model713[:]
	case 714:
		return model714[:]
	case 802:
		return model802[:]
	}
	return nil
}

// model1 is Common.
var model1 = [...]point{
	{"Mn", 2, 16, str, false, ""},
	{"Md", 18, 16, str, false, ""},
	{"Opt", 34, 8, str, false, ""},
	{"Vr", 42, 8, str, false, ""},
	{"SN", 50, 16, str, false, ""},
	{"DA", 66, 1, u16, true, ""},
}

// model101 is Inverter, integers (101 to 103).
var model101 = [...]point{
	{"A", 2, 1, u16, false, "A_SF"},
	{"A_SF", 6, 1, sf, false, ""},
	{"PhVphA", 10, 1, u16, false, "V_SF"},
	{"V_SF", 13, 1, sf, false, ""},
	{"W", 14, 1, i16, false, "W_SF"},
	{"W_SF", 15, 1, sf, false, ""},
	{"Hz", 16, 1, u16, false, "Hz_SF"},
	{"Hz_SF", 17, 1, sf, false, ""},
	{"VA", 18, 1, i16, false, "VA_SF"},
	{"VA_SF", 19, 1, sf, false, ""},
	{"VAr", 20, 1, i16, false, "VAr_SF"},
	{"VAr_SF", 21, 1, sf, false, ""},
	{"WH", 24, 2, acc32, false, "WH_SF"},
	{"WH_SF", 26, 1, sf, false, ""},
	{"DCW", 31, 1, i16, false, "DCW_SF"},
	{"DCW_SF", 32, 1, sf, false, ""},
	{"TmpCab", 33, 1, i16, false, "Tmp_SF"},
	{"Tmp_SF", 37, 1, sf, false, ""},
	{"St", 38, 1, u16, false, ""},
	{"StVnd", 39, 1, u16, false, ""},
	{"Evt1", 40, 2, u32, false, ""},
	{"Evt2", 42, 2, u32, false, ""},
}

// model111 is Inverter, floating point (111 to 113).
var model111 = [...]point{
	{"A", 2, 2, f32, false, ""},
	{"PhVphA", 16, 2, f32, false, ""},
	{"W", 22, 2, f32, false, ""},
	{"Hz", 24, 2, f32, false, ""},
	{"VA", 26, 2, f32, false, ""},
	{"VAr", 28, 2, f32, false, ""},
	{"WH", 32, 2, f32, false, ""},
	{"DCW", 38, 2, f32, false, ""},
	{"TmpCab", 40, 2, f32, false, ""},
	{"St", 48, 1, u16, false, ""},
	{"StVnd", 49, 1, u16, false, ""},
	{"Evt1", 50, 2, u32, false, ""},
	{"Evt2", 52, 2, u32, false, ""},
}

// model120 is Nameplate ratings.
var model120 = [...]point{
	{"DERTyp", 2, 1, u16, false, ""},
	{"WRtg", 3, 1, u16, false, "WRtg_SF"},
	{"WRtg_SF", 4, 1, sf, false, ""},
	{"VARtg", 5, 1, u16, false, "VARtg_SF"},
	{"VARtg_SF", 6, 1, sf, false, ""},
	{"ARtg", 12, 1, u16, false, "ARtg_SF"},
	{"ARtg_SF", 13, 1, sf, false, ""},
	{"WHRtg", 19, 1, u16, false, "WHRtg_SF"},
	{"WHRtg_SF", 20, 1, sf, false, ""},
	{"AhrRtg", 21, 1, u16, false, "AhrRtg_SF"},
	{"AhrRtg_SF", 22, 1, sf, false, ""},
	{"MaxChaRte", 23, 1, u16, false, "MaxChaRte_SF"},
	{"MaxChaRte_SF", 24, 1, sf, false, ""},
	{"MaxDisChaRte", 25, 1, u16, false, "MaxDisChaRte_SF"},
	{"MaxDisChaRte_SF", 26, 1, sf, false, ""},
}

// model121 is Basic settings.
var model121 = [...]point{
	{"WMax", 2, 1, u16, true, "WMax_SF"},
	{"VAMax", 7, 1, u16, true, "VAMax_SF"},
	{"WGra", 12, 1, u16, true, "WGra_SF"},
	{"WMax_SF", 22, 1, sf, false, ""},
	{"VAMax_SF", 26, 1, sf, false, ""},
	{"WGra_SF", 28, 1, sf, false, ""},
}

// model122 is Extended status.
var model122 = [...]point{
	{"PVConn", 2, 1, u16, false, ""},
	{"StorConn", 3, 1, u16, false, ""},
	{"ECPConn", 4, 1, u16, false, ""},
	{"ActWh", 5, 4, acc64, false, ""},
	{"WAval", 31, 1, u16, false, "WAval_SF"},
	{"WAval_SF", 32, 1, sf, false, ""},
	{"StSetLimMsk", 33, 2, u32, false, ""},
	{"StActCtl", 35, 2, u32, false, ""},
}

// model123 is Immediate controls.
var model123 = [...]point{
	{"Conn_WinTms", 2, 1, u16, true, ""},
	{"Conn_RvrtTms", 3, 1, u16, true, ""},
	{"Conn", 4, 1, u16, true, ""},
	{"WMaxLimPct", 5, 1, u16, true, "WMaxLimPct_SF"},
	{"WMaxLimPct_WinTms", 6, 1, u16, true, ""},
	{"WMaxLimPct_RvrtTms", 7, 1, u16, true, ""},
	{"WMaxLimPct_RmpTms", 8, 1, u16, true, ""},
	{"WMaxLim_Ena", 9, 1, u16, true, ""},
	{"WMaxLimPct_SF", 23, 1, sf, false, ""},
}

// model124 is Basic storage control.
var model124 = [...]point{
	{"WChaMax", 2, 1, u16, true, "WChaMax_SF"},
	{"WChaGra", 3, 1, u16, true, "WChaDisChaGra_SF"},
	{"WDisChaGra", 4, 1, u16, true, "WChaDisChaGra_SF"},
	{"StorCtl_Mod", 5, 1, u16, true, ""},
	{"VAChaMax", 6, 1, u16, true, "VAChaMax_SF"},
	{"MinRsvPct", 7, 1, u16, true, "MinRsvPct_SF"},
	{"ChaState", 8, 1, u16, false, "ChaState_SF"},
	{"StorAval", 9, 1, u16, false, "StorAval_SF"},
	{"InBatV", 10, 1, u16, false, "InBatV_SF"},
	{"ChaSt", 11, 1, u16, false, ""},
	{"OutWRte", 12, 1, i16, true, "InOutWRte_SF"},
	{"InWRte", 13, 1, i16, true, "InOutWRte_SF"},
	{"InOutWRte_WinTms", 14, 1, u16, true, ""},
	{"InOutWRte_RvrtTms", 15, 1, u16, true, ""},
	{"InOutWRte_RmpTms", 16, 1, u16, true, ""},
	{"ChaGriSet", 17, 1, u16, true, ""},
	{"WChaMax_SF", 18, 1, sf, false, ""},
	{"WChaDisChaGra_SF", 19, 1, sf, false, ""},
	{"VAChaMax_SF", 20, 1, sf, false, ""},
	{"MinRsvPct_SF", 21, 1, sf, false, ""},
	{"ChaState_SF", 22, 1, sf, false, ""},
	{"StorAval_SF", 23, 1, sf, false, ""},
	{"InBatV_SF", 24, 1, sf, false, ""},
	{"InOutWRte_SF", 25, 1, sf, false, ""},
}

// model201 is Meter, integers (201 to 204).
var model201 = [...]point{
	{"A", 2, 1, i16, false, "A_SF"},
	{"A_SF", 6, 1, sf, false, ""},
	{"PhV", 7, 1, i16, false, "V_SF"},
	{"V_SF", 15, 1, sf, false, ""},
	{"Hz", 16, 1, i16, false, "Hz_SF"},
	{"Hz_SF", 17, 1, sf, false, ""},
	{"W", 18, 1, i16, false, "W_SF"},
	{"WphA", 19, 1, i16, false, "W_SF"},
	{"WphB", 20, 1, i16, false, "W_SF"},
	{"WphC", 21, 1, i16, false, "W_SF"},
	{"W_SF", 22, 1, sf, false, ""},
	{"TotWhExp", 38, 2, acc32, false, "TotWh_SF"},
	{"TotWhImp", 46, 2, acc32, false, "TotWh_SF"},
	{"TotWh_SF", 54, 1, sf, false, ""},
	{"Evt", 105, 2, u32, false, ""},
}

// model211 is Meter, floats (211 to 214).
var model211 = [...]point{
	{"A", 2, 2, f32, false, ""},
	{"PhV", 10, 2, f32, false, ""},
	{"Hz", 26, 2, f32, false, ""},
	{"W", 28, 2, f32, false, ""},
	{"WphA", 30, 2, f32, false, ""},
	{"WphB", 32, 2, f32, false, ""},
	{"WphC", 34, 2, f32, false, ""},
	{"TotWhExp", 60, 2, f32, false, ""},
	{"TotWhImp", 68, 2, f32, false, ""},
}

// model701 is DER AC measurement.
var model701 = [...]point{
	{"ACType", 2, 1, u16, false, ""},
	{"St", 3, 1, u16, false, ""},
	{"InvSt", 4, 1, u16, false, ""},
	{"ConnSt", 5, 1, u16, false, ""},
	{"Alrm", 6, 2, u32, false, ""},
	{"DERMode", 8, 2, u32, false, ""},
	{"W", 10, 1, i16, false, "W_SF"},
	{"VA", 11, 1, i16, false, "VA_SF"},
	{"Hz", 17, 2, u32, false, "Hz_SF"},
	{"TotWhInj", 19, 4, u64, false, "TotWh_SF"},
	{"TotWhAbs", 23, 4, u64, false, "TotWh_SF"},
	{"ThrotPct", 110, 1, u16, false, ""},
	{"ThrotSrc", 111, 2, u32, false, ""},
	{"Hz_SF", 115, 1, sf, false, ""},
	{"W_SF", 116, 1, sf, false, ""},
	{"VA_SF", 118, 1, sf, false, ""},
	{"TotWh_SF", 120, 1, sf, false, ""},
}

// model702 is DER capacity.
var model702 = [...]point{
	{"WMaxRtg", 2, 1, u16, false, "W_SF"},
	{"WChaRteMaxRtg", 10, 1, u16, false, "W_SF"},
	{"WDisChaRteMaxRtg", 11, 1, u16, false, "W_SF"},
	{"CtrlModes", 23, 2, u32, false, ""},
	{"WMax", 26, 1, u16, true, "W_SF"},
	{"WChaRteMax", 34, 1, u16, true, "W_SF"},
	{"WDisChaRteMax", 35, 1, u16, true, "W_SF"},
	{"W_SF", 45, 1, sf, false, ""},
}

// model703 is Enter service. It is verified, never written: whether a device
// may be in service is its owner's and the grid operator's word.
var model703 = [...]point{
	{"ES", 2, 1, u16, false, ""},
	{"ESDlyTms", 9, 2, u32, false, ""},
	{"ESRmpTms", 13, 2, u32, false, ""},
	{"ESDlyRemTms", 15, 2, u32, false, ""},
}

// model704 is DER AC controls.
var model704 = [...]point{
	{"WMaxLimPctEna", 14, 1, u16, true, ""},
	{"WMaxLimPct", 15, 1, u16, true, "WMaxLimPct_SF"},
	{"WMaxLimPctRvrt", 16, 1, u16, true, "WMaxLimPct_SF"},
	{"WMaxLimPctEnaRvrt", 17, 1, u16, true, ""},
	{"WMaxLimPctRvrtTms", 18, 2, u32, true, ""},
	{"WMaxLimPctRvrtRem", 20, 2, u32, false, ""},
	{"WSetEna", 22, 1, u16, true, ""},
	{"WSetMod", 23, 1, u16, true, ""},
	{"WSet", 24, 2, i32, true, "WSet_SF"},
	{"WSetRvrt", 26, 2, i32, true, "WSet_SF"},
	{"WSetPct", 28, 1, i16, true, "WSetPct_SF"},
	{"WSetPctRvrt", 29, 1, i16, true, "WSetPct_SF"},
	{"WSetEnaRvrt", 30, 1, u16, true, ""},
	{"WSetRvrtTms", 31, 2, u32, true, ""},
	{"WSetRvrtRem", 33, 2, u32, false, ""},
	{"WRmp", 49, 1, u16, true, ""},
	{"WRmpRef", 50, 1, u16, true, ""},
	{"PF_SF", 53, 1, sf, false, ""},
	{"WMaxLimPct_SF", 54, 1, sf, false, ""},
	{"WSet_SF", 55, 1, sf, false, ""},
	{"WSetPct_SF", 56, 1, sf, false, ""},
}

// model713 is DER storage capacity.
var model713 = [...]point{
	{"WHRtg", 2, 1, u16, false, "WH_SF"},
	{"WHAvail", 3, 1, u16, false, "WH_SF"},
	{"SoC", 4, 1, u16, false, "Pct_SF"},
	{"SoH", 5, 1, u16, false, "Pct_SF"},
	{"Sta", 6, 1, u16, false, ""},
	{"WH_SF", 7, 1, sf, false, ""},
	{"Pct_SF", 8, 1, sf, false, ""},
}

// model160 is Multiple MPPT extension; of its modules, 20 registers each, as
// many as come in one request.
var model160 = [...]point{
	{"DCW_SF", 4, 1, sf, false, ""},
	{"N", 8, 1, u16, false, ""},
	{"M1.IDStr", 11, 8, str, false, ""},
	{"M1.DCW", 21, 1, u16, false, "DCW_SF"},
	{"M2.IDStr", 31, 8, str, false, ""},
	{"M2.DCW", 41, 1, u16, false, "DCW_SF"},
	{"M3.IDStr", 51, 8, str, false, ""},
	{"M3.DCW", 61, 1, u16, false, "DCW_SF"},
	{"M4.IDStr", 71, 8, str, false, ""},
	{"M4.DCW", 81, 1, u16, false, "DCW_SF"},
	{"M5.IDStr", 91, 8, str, false, ""},
	{"M5.DCW", 101, 1, u16, false, "DCW_SF"},
}

// model714 is DER DC measurement; of its ports, 25 registers each, as many as
// come in one request.
var model714 = [...]point{
	{"NPrt", 4, 1, u16, false, ""},
	{"DCW", 6, 1, i16, false, "DCW_SF"},
	{"DCW_SF", 17, 1, sf, false, ""},
	{"P1.PrtTyp", 20, 1, u16, false, ""},
	{"P1.DCW", 32, 1, i16, false, "DCW_SF"},
	{"P2.PrtTyp", 45, 1, u16, false, ""},
	{"P2.DCW", 57, 1, i16, false, "DCW_SF"},
	{"P3.PrtTyp", 70, 1, u16, false, ""},
	{"P3.DCW", 82, 1, i16, false, "DCW_SF"},
	{"P4.PrtTyp", 95, 1, u16, false, ""},
	{"P4.DCW", 107, 1, i16, false, "DCW_SF"},
}

// model802 is Battery base model.
var model802 = [...]point{
	{"WHRtg", 3, 1, u16, false, "WHRtg_SF"},
	{"WChaRteMax", 4, 1, u16, false, "WChaDisChaMax_SF"},
	{"WDisChaRteMax", 5, 1, u16, false, "WChaDisChaMax_SF"},
	{"SoC", 11, 1, u16, false, "SoC_SF"},
	{"SoH", 13, 1, u16, false, "SoH_SF"},
	{"ChaSt", 16, 1, u16, false, ""},
	{"LocRemCtl", 17, 1, u16, false, ""},
	{"CtrlHb", 19, 1, u16, true, ""},
	{"State", 22, 1, u16, false, ""},
	{"W", 47, 1, i16, false, "W_SF"},
	{"WHRtg_SF", 53, 1, sf, false, ""},
	{"WChaDisChaMax_SF", 54, 1, sf, false, ""},
	{"SoC_SF", 56, 1, sf, false, ""},
	{"SoH_SF", 58, 1, sf, false, ""},
	{"W_SF", 63, 1, sf, false, ""},
}
