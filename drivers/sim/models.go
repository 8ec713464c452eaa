package sim

// The register tables of the simulated devices, written down apart from the
// driver's: a mistake made in one place must not be repeated in the other.
// One word per point, in wire order: name, type, "!" when it may be written,
// and after "/" the point that holds its scale factor. The types and orders are
// those of the SunSpec information models (Alliance model files, 2024).
const (

	// Model 1: Common.
	table1 = `
Mn:s16 Md:s16 Opt:s8 Vr:s8 SN:s16 DA:u16! Pad:pad`

	// Model 103: Inverter.
	table103 = `
A:u16/A_SF AphA:u16/A_SF AphB:u16/A_SF AphC:u16/A_SF A_SF:sf PPVphAB:u16/V_SF PPVphBC:u16/V_SF
PPVphCA:u16/V_SF PhVphA:u16/V_SF PhVphB:u16/V_SF PhVphC:u16/V_SF V_SF:sf W:i16/W_SF W_SF:sf
Hz:u16/Hz_SF Hz_SF:sf VA:i16/VA_SF VA_SF:sf VAr:i16/VAr_SF VAr_SF:sf PF:i16/PF_SF PF_SF:sf
WH:a32/WH_SF WH_SF:sf DCA:u16/DCA_SF DCA_SF:sf DCV:u16/DCV_SF DCV_SF:sf DCW:i16/DCW_SF DCW_SF:sf
TmpCab:i16/Tmp_SF TmpSnk:i16/Tmp_SF TmpTrns:i16/Tmp_SF TmpOt:i16/Tmp_SF Tmp_SF:sf St:e16 StVnd:e16
Evt1:b32 Evt2:b32 EvtVnd1:b32 EvtVnd2:b32 EvtVnd3:b32 EvtVnd4:b32`

	// Model 120: Nameplate.
	table120 = `
DERTyp:e16 WRtg:u16/WRtg_SF WRtg_SF:sf VARtg:u16/VARtg_SF VARtg_SF:sf VArRtgQ1:i16/VArRtg_SF
VArRtgQ2:i16/VArRtg_SF VArRtgQ3:i16/VArRtg_SF VArRtgQ4:i16/VArRtg_SF VArRtg_SF:sf ARtg:u16/ARtg_SF
ARtg_SF:sf PFRtgQ1:i16/PFRtg_SF PFRtgQ2:i16/PFRtg_SF PFRtgQ3:i16/PFRtg_SF PFRtgQ4:i16/PFRtg_SF
PFRtg_SF:sf WHRtg:u16/WHRtg_SF WHRtg_SF:sf AhrRtg:u16/AhrRtg_SF AhrRtg_SF:sf
MaxChaRte:u16/MaxChaRte_SF MaxChaRte_SF:sf MaxDisChaRte:u16/MaxDisChaRte_SF MaxDisChaRte_SF:sf
Pad:pad`

	// Model 121: Basic settings.
	table121 = `
WMax:u16!/WMax_SF VRef:u16!/VRef_SF VRefOfs:i16!/VRefOfs_SF VMax:u16!/VMinMax_SF
VMin:u16!/VMinMax_SF VAMax:u16!/VAMax_SF VArMaxQ1:i16!/VArMax_SF VArMaxQ2:i16!/VArMax_SF
VArMaxQ3:i16!/VArMax_SF VArMaxQ4:i16!/VArMax_SF WGra:u16!/WGra_SF PFMinQ1:i16!/PFMin_SF
PFMinQ2:i16!/PFMin_SF PFMinQ3:i16!/PFMin_SF PFMinQ4:i16!/PFMin_SF VArAct:e16! ClcTotVA:e16!
MaxRmpRte:u16!/MaxRmpRte_SF ECPNomHz:u16!/ECPNomHz_SF ConnPh:e16! WMax_SF:sf VRef_SF:sf
VRefOfs_SF:sf VMinMax_SF:sf VAMax_SF:sf VArMax_SF:sf WGra_SF:sf PFMin_SF:sf MaxRmpRte_SF:sf
ECPNomHz_SF:sf`

	// Model 122: Extended status.
	table122 = `
PVConn:b16 StorConn:b16 ECPConn:b16 ActWh:a64 ActVAh:a64 ActVArhQ1:a64 ActVArhQ2:a64 ActVArhQ3:a64
ActVArhQ4:a64 VArAval:i16/VArAval_SF VArAval_SF:sf WAval:u16/WAval_SF WAval_SF:sf StSetLimMsk:b32
StActCtl:b32 TmSrc:s4 Tms:u32 RtSt:b16 Ris:u16/Ris_SF Ris_SF:sf`

	// Model 123: Immediate controls.
	table123 = `
Conn_WinTms:u16! Conn_RvrtTms:u16! Conn:e16! WMaxLimPct:u16!/WMaxLimPct_SF WMaxLimPct_WinTms:u16!
WMaxLimPct_RvrtTms:u16! WMaxLimPct_RmpTms:u16! WMaxLim_Ena:e16! OutPFSet:i16!/OutPFSet_SF
OutPFSet_WinTms:u16! OutPFSet_RvrtTms:u16! OutPFSet_RmpTms:u16! OutPFSet_Ena:e16!
VArWMaxPct:i16!/VArPct_SF VArMaxPct:i16!/VArPct_SF VArAvalPct:i16!/VArPct_SF VArPct_WinTms:u16!
VArPct_RvrtTms:u16! VArPct_RmpTms:u16! VArPct_Mod:e16! VArPct_Ena:e16! WMaxLimPct_SF:sf
OutPFSet_SF:sf VArPct_SF:sf`

	// Model 124: Storage.
	table124 = `
WChaMax:u16!/WChaMax_SF WChaGra:u16!/WChaDisChaGra_SF WDisChaGra:u16!/WChaDisChaGra_SF
StorCtl_Mod:b16! VAChaMax:u16!/VAChaMax_SF MinRsvPct:u16!/MinRsvPct_SF ChaState:u16/ChaState_SF
StorAval:u16/StorAval_SF InBatV:u16/InBatV_SF ChaSt:e16 OutWRte:i16!/InOutWRte_SF
InWRte:i16!/InOutWRte_SF InOutWRte_WinTms:u16! InOutWRte_RvrtTms:u16! InOutWRte_RmpTms:u16!
ChaGriSet:e16! WChaMax_SF:sf WChaDisChaGra_SF:sf VAChaMax_SF:sf MinRsvPct_SF:sf ChaState_SF:sf
StorAval_SF:sf InBatV_SF:sf InOutWRte_SF:sf`

	// Model 203: Meter.
	table203 = `
A:i16/A_SF AphA:i16/A_SF AphB:i16/A_SF AphC:i16/A_SF A_SF:sf PhV:i16/V_SF PhVphA:i16/V_SF
PhVphB:i16/V_SF PhVphC:i16/V_SF PPV:i16/V_SF PhVphAB:i16/V_SF PhVphBC:i16/V_SF PhVphCA:i16/V_SF
V_SF:sf Hz:i16/Hz_SF Hz_SF:sf W:i16/W_SF WphA:i16/W_SF WphB:i16/W_SF WphC:i16/W_SF W_SF:sf
VA:i16/VA_SF VAphA:i16/VA_SF VAphB:i16/VA_SF VAphC:i16/VA_SF VA_SF:sf VAR:i16/VAR_SF
VARphA:i16/VAR_SF VARphB:i16/VAR_SF VARphC:i16/VAR_SF VAR_SF:sf PF:i16/PF_SF PFphA:i16/PF_SF
PFphB:i16/PF_SF PFphC:i16/PF_SF PF_SF:sf TotWhExp:a32/TotWh_SF TotWhExpPhA:a32/TotWh_SF
TotWhExpPhB:a32/TotWh_SF TotWhExpPhC:a32/TotWh_SF TotWhImp:a32/TotWh_SF TotWhImpPhA:a32/TotWh_SF
TotWhImpPhB:a32/TotWh_SF TotWhImpPhC:a32/TotWh_SF TotWh_SF:sf TotVAhExp:a32/TotVAh_SF
TotVAhExpPhA:a32/TotVAh_SF TotVAhExpPhB:a32/TotVAh_SF TotVAhExpPhC:a32/TotVAh_SF
TotVAhImp:a32/TotVAh_SF TotVAhImpPhA:a32/TotVAh_SF TotVAhImpPhB:a32/TotVAh_SF
TotVAhImpPhC:a32/TotVAh_SF TotVAh_SF:sf TotVArhImpQ1:a32/TotVArh_SF TotVArhImpQ1PhA:a32/TotVArh_SF
TotVArhImpQ1PhB:a32/TotVArh_SF TotVArhImpQ1PhC:a32/TotVArh_SF TotVArhImpQ2:a32/TotVArh_SF
TotVArhImpQ2PhA:a32/TotVArh_SF TotVArhImpQ2PhB:a32/TotVArh_SF TotVArhImpQ2PhC:a32/TotVArh_SF
TotVArhExpQ3:a32/TotVArh_SF TotVArhExpQ3PhA:a32/TotVArh_SF TotVArhExpQ3PhB:a32/TotVArh_SF
TotVArhExpQ3PhC:a32/TotVArh_SF TotVArhExpQ4:a32/TotVArh_SF TotVArhExpQ4PhA:a32/TotVArh_SF
TotVArhExpQ4PhB:a32/TotVArh_SF TotVArhExpQ4PhC:a32/TotVArh_SF TotVArh_SF:sf Evt:b32`

	// Model 701: DER AC measurement.
	table701 = `
ACType:e16 St:e16 InvSt:e16 ConnSt:e16 Alrm:b32 DERMode:b32 W:i16/W_SF VA:i16/VA_SF Var:i16/Var_SF
PF:i16/PF_SF A:i16/A_SF LLV:u16/V_SF LNV:u16/V_SF Hz:u32/Hz_SF TotWhInj:u64/TotWh_SF
TotWhAbs:u64/TotWh_SF TotVarhInj:u64/TotVarh_SF TotVarhAbs:u64/TotVarh_SF TmpAmb:i16/Tmp_SF
TmpCab:i16/Tmp_SF TmpSnk:i16/Tmp_SF TmpTrns:i16/Tmp_SF TmpSw:i16/Tmp_SF TmpOt:i16/Tmp_SF
WL1:i16/W_SF VAL1:i16/VA_SF VarL1:i16/Var_SF PFL1:i16/PF_SF AL1:i16/A_SF VL1L2:u16/V_SF VL1:u16/V_SF
TotWhInjL1:u64/TotWh_SF TotWhAbsL1:u64/TotWh_SF TotVarhInjL1:u64/TotVarh_SF
TotVarhAbsL1:u64/TotVarh_SF WL2:i16/W_SF VAL2:i16/VA_SF VarL2:i16/Var_SF PFL2:i16/PF_SF AL2:i16/A_SF
VL2L3:u16/V_SF VL2:u16/V_SF TotWhInjL2:u64/TotWh_SF TotWhAbsL2:u64/TotWh_SF
TotVarhInjL2:u64/TotVarh_SF TotVarhAbsL2:u64/TotVarh_SF WL3:i16/W_SF VAL3:i16/VA_SF VarL3:i16/Var_SF
PFL3:i16/PF_SF AL3:i16/A_SF VL3L1:u16/V_SF VL3:u16/V_SF TotWhInjL3:u64/TotWh_SF
TotWhAbsL3:u64/TotWh_SF TotVarhInjL3:u64/TotVarh_SF TotVarhAbsL3:u64/TotVarh_SF ThrotPct:u16
ThrotSrc:b32 A_SF:sf V_SF:sf Hz_SF:sf W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf TotWh_SF:sf TotVarh_SF:sf
Tmp_SF:sf MnAlrmInfo:s32`

	// Model 702: DER capacity.
	table702 = `
WMaxRtg:u16/W_SF WOvrExtRtg:u16/W_SF WOvrExtRtgPF:u16/PF_SF WUndExtRtg:u16/W_SF
WUndExtRtgPF:u16/PF_SF VAMaxRtg:u16/VA_SF VarMaxInjRtg:u16/Var_SF VarMaxAbsRtg:u16/Var_SF
WChaRteMaxRtg:u16/W_SF WDisChaRteMaxRtg:u16/W_SF VAChaRteMaxRtg:u16/VA_SF
VADisChaRteMaxRtg:u16/VA_SF VNomRtg:u16/V_SF VMaxRtg:u16/V_SF VMinRtg:u16/V_SF AMaxRtg:u16/A_SF
PFOvrExtRtg:u16/PF_SF PFUndExtRtg:u16/PF_SF ReactSusceptRtg:u16/S_SF NorOpCatRtg:e16 AbnOpCatRtg:e16
CtrlModes:b32 IntIslandCatRtg:b16 WMax:u16!/W_SF WMaxOvrExt:u16!/W_SF WOvrExtPF:u16!/PF_SF
WMaxUndExt:u16!/W_SF WUndExtPF:u16!/PF_SF VAMax:u16!/VA_SF VarMaxInj:u16!/Var_SF
VarMaxAbs:u16!/Var_SF WChaRteMax:u16!/W_SF WDisChaRteMax:u16!/W_SF VAChaRteMax:u16!/VA_SF
VADisChaRteMax:u16!/VA_SF VNom:u16!/V_SF VMax:u16!/V_SF VMin:u16!/V_SF AMax:u16!/A_SF
PFOvrExt:u16!/PF_SF PFUndExt:u16!/PF_SF IntIslandCat:b16! W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf
V_SF:sf A_SF:sf S_SF:sf`

	// Model 704: DER AC controls.
	table704 = `
PFWInjEna:e16! PFWInjEnaRvrt:e16! PFWInjRvrtTms:u32! PFWInjRvrtRem:u32 PFWAbsEna:e16!
PFWAbsEnaRvrt:e16! PFWAbsRvrtTms:u32! PFWAbsRvrtRem:u32 WMaxLimPctEna:e16!
WMaxLimPct:u16!/WMaxLimPct_SF WMaxLimPctRvrt:u16!/WMaxLimPct_SF WMaxLimPctEnaRvrt:e16!
WMaxLimPctRvrtTms:u32! WMaxLimPctRvrtRem:u32 WSetEna:e16! WSetMod:e16! WSet:i32!/WSet_SF
WSetRvrt:i32!/WSet_SF WSetPct:i16!/WSetPct_SF WSetPctRvrt:i16!/WSetPct_SF WSetEnaRvrt:e16!
WSetRvrtTms:u32! WSetRvrtRem:u32 VarSetEna:e16! VarSetMod:e16! VarSetPri:e16! VarSet:i32!/VarSet_SF
VarSetRvrt:i32!/VarSet_SF VarSetPct:i16!/VarSetPct_SF VarSetPctRvrt:i16!/VarSetPct_SF
VarSetEnaRvrt:e16! VarSetRvrtTms:u32! VarSetRvrtRem:u32 WRmp:u16! WRmpRef:e16! VarRmp:u16!
AntiIslEna:e16! PF_SF:sf WMaxLimPct_SF:sf WSet_SF:sf WSetPct_SF:sf VarSet_SF:sf VarSetPct_SF:sf
PFWInj.PF:u16!/PF_SF PFWInj.Ext:e16! PFWInjRvrt.PF:u16!/PF_SF PFWInjRvrt.Ext:e16!
PFWAbs.PF:u16!/PF_SF PFWAbs.Ext:e16! PFWAbsRvrt.PF:u16!/PF_SF PFWAbsRvrt.Ext:e16!`

	// Model 713: DER storage capacity.
	table713 = `
WHRtg:u16/WH_SF WHAvail:u16/WH_SF SoC:u16/Pct_SF SoH:u16/Pct_SF Sta:e16 WH_SF:sf Pct_SF:sf`

	// Model 64900: a vendor's own, of odd length, to be walked past.
	table64900 = `Magic:u16 Secret:u32 Knob:u16! Note:s4 Tail:u16`
)
